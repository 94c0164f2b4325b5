// A form with data-popup="window name" is sent into a small window. The window is opened in the click itself, or the
// browser would block it; if it is blocked, or with the button data-popup-skip, the form is sent in this tab as it
// would be without this script. data-popup-shows names the element that shows the progress: its data-pressed-url is
// requested at once, and the response polls the server until there is an outcome. Only the server knows; the window may
// be slower than this page.
(() => {
  const open = (name) => {
    const [width, height] = [Math.min(720, screen.availWidth), Math.min(820, screen.availHeight)];
    const left = window.screenX + Math.max(0, (window.outerWidth - width) / 2);
    const top = window.screenY + Math.max(0, (window.outerHeight - height) / 3);
    return window.open("", name, `popup,width=${width},height=${height},left=${left},top=${top}`);
  };
  const mark = (form, inPopup) => {
    form.querySelector("input[name='in_popup']")?.remove();
    if (!inPopup) return;
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name: "in_popup", value: "1" });
    form.append(field);
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.popup) return;
    const child = event.submitter?.hasAttribute("data-popup-skip") ? null : open(form.dataset.popup);
    mark(form, Boolean(child));
    if (!child) { form.removeAttribute("target"); return; }
    form.target = form.dataset.popup;
    child.focus();
    const shown = document.querySelector(form.dataset.popupShows);
    const address = shown?.dataset.pressedUrl;
    // After the browser has taken the form: it would not send one that is swapped out first.
    if (address) setTimeout(() => htmx.ajax("GET", address, { target: shown, swap: "outerMorph" }), 0);
  });
})();
