// What lies in a drop or a file chooser: files, and the files of folders, with their names below what was dropped.

/** @typedef {{name: string, file: File}} Item */

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<FileSystemEntry[]>} */
async function entriesOf(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

/** @param {FileSystemEntry | null} entry @param {Item[]} into */
async function walk(entry, into) {
  if (!entry || entry.name.startsWith(".")) return;
  if (entry.isDirectory) {
    for (const inner of await entriesOf(/** @type {FileSystemDirectoryEntry} */ (entry))) await walk(inner, into);
    return;
  }
  /** @type {File} */
  const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
  into.push({ name: entry.fullPath.replace(/^\//, ""), file });
}

/**
 * @param {DataTransfer} transfer
 * @returns {Promise<{title: string, items: Item[]}>} title: the name of the one folder or archive dropped, or empty
 */
export async function dropped(transfer) {
  const entries = [...transfer.items].filter((i) => i.kind === "file").map((i) => i.webkitGetAsEntry?.() ?? null);
  /** @type {Item[]} */
  const items = [];
  if (entries.some(Boolean)) for (const entry of entries) await walk(entry, items);
  else for (const file of transfer.files) items.push({ name: file.name, file });
  const only = entries.length === 1 ? (entries[0]?.name ?? items[0]?.name ?? "") : "";
  return { title: only.replace(/\.(zip|jpe?g|png|tiff?|bmp|webp)$/i, ""), items };
}

/** @param {FileList | null} files @returns {Item[]} */
export const chosen = (files) => [...(files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
