// Before the first paint: the theme chosen here earlier. Not a module, so that it runs before anything is drawn.
try {
  const { theme } = JSON.parse(localStorage.getItem("hemoscope.settings") ?? "{}");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // nothing is remembered, or it may not be read: the theme is the system's
}
