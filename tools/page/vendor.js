// Makes src/hemoscope/server/page/vendor/ from the packages of package-lock.json, and vendor.json beside it: version, licence and SHA-256.
// `--check` writes nothing and ends with 1 where a committed file is not what these packages give.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "..", "..");
const VENDOR = join(ROOT, "src", "hemoscope", "server", "page", "vendor");
const TESTS = join(ROOT, "tests", "page", "vendor");

const PARTS = {
  "preact.js": ["preact", "@preact/signals", "@preact/signals-core", "htm"],
  "virtual.js": ["@tanstack/virtual-core"],
  "drag.js": ["@atlaskit/pragmatic-drag-and-drop", "bind-event-listener", "raf-schd", "@babel/runtime"],
  "lasso.js": ["@viselect/vanilla"],
};

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const folderOf = (name) => join(HERE, "node_modules", name);

function licenceText(name) {
  const found = ["LICENSE", "LICENSE.md", "LICENSE.txt"].map((f) => join(folderOf(name), f)).find(existsSync);
  if (!found) throw new Error(`${name} has no file of its licence in ${folderOf(name)}; expected LICENSE. Run npm ci here`);
  return readFileSync(found, "utf8");
}

function packageOf(name) {
  const { version, license } = JSON.parse(readFileSync(join(folderOf(name), "package.json"), "utf8"));
  return { name, version, licence: license };
}

function made() {
  const files = new Map();
  for (const [file, names] of Object.entries(PARTS)) {
    const built = buildSync({
      entryPoints: [join(HERE, "entries", file)],
      absWorkingDir: HERE,
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      legalComments: "none",
      charset: "utf8",
      define: { "process.env.NODE_ENV": '"production"' },
      write: false,
    });
    const head = names.map((n) => `${n} ${packageOf(n).version} (${packageOf(n).licence})`).join(", ");
    files.set(join(VENDOR, file), `/* ${head}; licences: LICENCES.txt; made by tools/page/vendor.js */\n${built.outputFiles[0].text}`);
  }
  const names = [...new Set(Object.values(PARTS).flat())];
  files.set(join(VENDOR, "LICENCES.txt"), names.map((n) => `${n}\n${"=".repeat(n.length)}\n\n${licenceText(n).trim()}\n`).join("\n\n"));
  files.set(join(TESTS, "axe.min.js"), readFileSync(join(folderOf("axe-core"), "axe.min.js"), "utf8"));
  files.set(join(TESTS, "LICENCE.txt"), licenceText("axe-core"));
  return files;
}

function manifest(files) {
  const parts = Object.entries(PARTS).map(([file, names]) => ({
    file,
    sha256: sha256(files.get(join(VENDOR, file))),
    packages: names.map(packageOf),
  }));
  const licences = { file: "LICENCES.txt", sha256: sha256(files.get(join(VENDOR, "LICENCES.txt"))), packages: [] };
  const axe = { file: "axe.min.js", sha256: sha256(files.get(join(TESTS, "axe.min.js"))), packages: [packageOf("axe-core")] };
  return [
    [join(VENDOR, "vendor.json"), `${JSON.stringify([...parts, licences], null, 2)}\n`],
    [join(TESTS, "vendor.json"), `${JSON.stringify([axe], null, 2)}\n`],
  ];
}

const files = made();
for (const [path, text] of manifest(files)) files.set(path, text);
const check = process.argv.includes("--check");
let stale = 0;
for (const [path, text] of files) {
  if (check) {
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
      console.error(`${path} is not what package-lock.json gives. Expected the result of: npm ci && npm run vendor`);
      stale += 1;
    }
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}
process.exit(stale ? 1 : 0);
