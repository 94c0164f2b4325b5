// What a person folded open or shut stays so when htmx morphs the page around it. Accordions (`name`) are the server's.
(() => {
  const chosen = new WeakMap();
  document.addEventListener("click", (event) => {
    const summary = event.target.closest?.("summary");
    const fold = summary?.parentElement;
    // The click toggles it only after this listener.
    if (fold instanceof HTMLDetailsElement && !fold.name && !("menu" in fold.dataset)) chosen.set(fold, !fold.open);
  });
  document.addEventListener("htmx:after:swap", () => {
    for (const fold of document.querySelectorAll("details")) {
      if (chosen.has(fold) && fold.open !== chosen.get(fold)) fold.open = chosen.get(fold);
    }
  });
})();
