// Runs before the first paint: says that scripts work, and turns the theme "auto" into light or dark.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  if (root.dataset.bsTheme !== "auto") return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { root.dataset.bsTheme = dark.matches ? "dark" : "light"; };
  apply();
  dark.addEventListener("change", apply);
})();
