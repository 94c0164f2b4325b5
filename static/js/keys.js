// A page with #keys, a dialog that names its keys: / searches, j and k or the arrows move through the rows of #listing, with
// Shift they take the box along, ? opens the dialog. Its box switches off the keys that are single characters
// (https://www.w3.org/WAI/WCAG22/Understanding/character-key-shortcuts.html).
(() => {
  const OFF = "single-keys-off";
  const isOff = () => { try { return localStorage.getItem(OFF) === "1"; } catch { return false; } };
  const isTyping = (element) => element.matches("input:not([type='checkbox'], [type='radio']), textarea, select, [contenteditable]");
  const rows = () => [...document.querySelectorAll("#listing tbody tr")];
  const move = (step, extends_) => {
    const all = rows();
    const from = all.indexOf(document.activeElement.closest?.("#listing tbody tr"));
    const to = from < 0 ? (step > 0 ? 0 : all.length - 1) : from + step;
    if (!all[to]) return;
    const boxOf = (row) => row.querySelector("[data-select-row]");
    const box = boxOf(all[to]);
    const target = box ?? all[to].querySelector("summary, button, a") ?? all[to];
    if (target === all[to]) target.tabIndex = -1;
    target.focus();
    // The row before may be one that cannot be selected.
    const before = (step > 0 ? all.slice(0, to).reverse() : all.slice(to + 1)).map(boxOf).find(Boolean);
    if (extends_ && before && box && box.checked !== before.checked) box.click();
  };
  document.addEventListener("keydown", (event) => {
    const keys = document.getElementById("keys");
    const { key, shiftKey, target } = event;
    if (!keys || document.querySelector("dialog[open], .modal.show") || event.ctrlKey || event.metaKey || event.altKey || isTyping(target)) return;
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, J: 1, k: -1, K: -1 }[key];
    const isArrow = key.startsWith("Arrow");
    if (isArrow ? !target.closest("#listing tbody") : isOff()) return;
    if (step) move(step, shiftKey);
    else if (key === "/") document.querySelector("#view [name='q']")?.select();
    else if (key === "?") keys.showModal();
    else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-open-keys]")) document.getElementById("keys").showModal(); });
  document.addEventListener("change", ({ target }) => {
    if (!target.matches("[data-single-keys]")) return;
    try { localStorage.setItem(OFF, target.checked ? "0" : "1"); } catch { /* Then they stay on. */ }
  });
  document.addEventListener("DOMContentLoaded", () => { for (const box of document.querySelectorAll("[data-single-keys]")) box.checked = !isOff(); });
})();
