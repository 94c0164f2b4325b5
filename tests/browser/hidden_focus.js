// What is wholly under a sticky bar when it takes the focus, going through the page forwards and backwards: WCAG 2.4.11.
() => {
  const dialog = document.querySelector(".modal.show, .offcanvas.show, .offcanvas-lg.show");
  const all = [...(dialog ?? document).querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((element) => !element.disabled && element.type !== "hidden" && element.tabIndex >= 0 && element.checkVisibility({checkVisibilityCSS: true}));
  const before = document.activeElement;
  const found = new Set();
  for (const element of [...all, ...all.toReversed()]) {
    element.focus();
    const box = element.getBoundingClientRect();
    if (document.activeElement !== element || box.width < 2 || box.height < 2) continue;
    const points = [[0.5, 0.5], [0.1, 0.2], [0.9, 0.8]].map(([x, y]) => [box.left + box.width * x, box.top + box.height * y]);
    const free = points.some(([x, y]) => {
      const top = document.elementFromPoint(x, y);
      return top && (element.contains(top) || top.contains(element) || top.closest("label")?.control === element);
    });
    if (!free) found.add(element.outerHTML.slice(0, 120));
  }
  // The body takes no focus: without the blur the link to the content would stay shown, over the menu button.
  document.activeElement?.blur?.();
  before?.focus?.();
  window.scrollTo(0, 0);
  return [...found];
}
