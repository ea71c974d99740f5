// Before the first paint: the theme chosen here earlier. Not a module, so that it runs before anything is drawn.
{
  const { theme } = JSON.parse(localStorage.getItem("hemoscope.settings") ?? "{}");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
