// data-confirm is a form that asks for confirmation. With data-confirm-text its button only works once that text is
// typed.
(() => {
  const check = (form) => {
    const field = form.querySelector("[data-confirm-text]");
    const button = form.querySelector("[data-confirm-button]");
    if (field && button) button.disabled = field.value.trim() !== field.dataset.confirmText;
  };
  document.addEventListener("input", (event) => {
    const form = event.target.closest("[data-confirm]");
    if (form) check(form);
  });
  document.addEventListener("show.bs.modal", (event) => {
    for (const form of event.target.querySelectorAll("[data-confirm]")) { form.reset(); check(form); }
  });
  document.addEventListener("shown.bs.modal", (event) => {
    (event.target.querySelector("[data-confirm-text]") ?? event.target.querySelector(".modal-footer .btn"))?.focus();
  });
  // A response to the dialog's own form closes it.
  document.addEventListener("htmx:after:request", (event) => {
    const modal = event.detail.ctx?.sourceElement?.closest(".modal");
    if (modal && event.detail.ctx.response.status < 400) window.bootstrap.Modal.getInstance(modal)?.hide();
  });
  // Opening links are links so that they work without scripts; as buttons they also respond to the space bar.
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.matches("a[role='button']")) return;
    event.preventDefault();
    event.target.click();
  });
})();
