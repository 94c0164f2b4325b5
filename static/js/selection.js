// A form with data-selection: data-select-all, data-select-row, data-select-matching="how many", and a data-bulk bar
// with data-bulk-count. Nothing is kept here: the boxes are the state. Shift selects a range.
(() => {
  const rows = (form) => [...form.querySelectorAll("[data-select-row]:not(:disabled)")];
  const refresh = (form) => {
    const all = rows(form);
    const chosen = all.filter((box) => box.checked).length;
    const matching = form.querySelector("[data-select-matching]");
    const head = form.querySelector("[data-select-all]");
    const bar = form.querySelector("[data-bulk]");
    const count = matching?.checked ? matching.dataset.selectMatching : chosen;
    if (head) { head.checked = chosen > 0 && chosen === all.length; head.indeterminate = chosen > 0 && chosen < all.length; }
    for (const box of all) box.closest("tr, li")?.classList.toggle("is-selected", box.checked);
    if (!bar) return;
    bar.classList.toggle("is-active", count !== 0);
    bar.querySelector("[data-bulk-count]").textContent = count.toLocaleString("en");
    for (const button of bar.querySelectorAll("button[type='submit']")) button.disabled = count === 0;
  };
  const range = (form, box, anchor) => {
    const all = rows(form);
    const [from, to] = [all.indexOf(anchor), all.indexOf(box)].sort((a, b) => a - b);
    if (from >= 0) for (const between of all.slice(from, to + 1)) between.checked = box.checked;
  };
  let anchor = null;
  document.addEventListener("click", (event) => {
    const box = event.target.closest("[data-select-row]");
    const form = box?.closest("[data-selection]");
    if (!form) return;
    if (event.shiftKey && anchor?.isConnected) range(form, box, anchor);
    anchor = box;
    refresh(form);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("[data-selection]");
    if (!form) return;
    if (event.target.matches("[data-select-all]")) for (const box of rows(form)) box.checked = event.target.checked;
    refresh(form);
  });
  // The action of the bar's buttons is done: if the boxes stayed ticked, they would be part of the next action.
  document.addEventListener("htmx:after:request", (event) => {
    const { sourceElement, response } = event.detail.ctx ?? {};
    const form = sourceElement?.closest("[data-bulk]")?.closest("[data-selection]");
    if (!form || !response || response.status >= 400) return;
    for (const box of form.querySelectorAll("[data-select-row], [data-select-matching]")) box.checked = false;
    refresh(form);
    // The pressed button is disabled now; without this the page would lose the focus.
    form.querySelector("[data-bulk]")?.focus({ preventScroll: true });
  });
  const everywhere = () => document.querySelectorAll("[data-selection]").forEach(refresh);
  for (const name of ["DOMContentLoaded", "htmx:after:swap", "pageshow"]) window.addEventListener(name, everywhere, true);
})();
