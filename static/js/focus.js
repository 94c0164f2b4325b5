// After a swap or at load: an element with data-take-focus (error summary, failure card) gets the focus, once.
(() => {
  const take = (scope) => {
    const target = scope.querySelector("[data-take-focus]");
    if (!target) return;
    target.removeAttribute("data-take-focus");
    target.focus();
    target.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("DOMContentLoaded", () => take(document));
  document.addEventListener("htmx:after:swap", () => take(document));
  // What was refused is no longer what the field holds, so its sentence goes, and the summary with the last of them.
  document.addEventListener("input", ({ target }) => {
    if (!target.matches(".is-invalid")) return;
    target.classList.remove("is-invalid");
    target.removeAttribute("aria-invalid");
    document.getElementById(`${target.id}-error`)?.remove();
    const said = target.form?.querySelector(`.gh-summary a[href="#${CSS.escape(target.id)}"]`)?.closest("li");
    const summary = said?.closest(".gh-summary");
    said?.remove();
    if (summary && !summary.querySelector("li")) summary.remove();
  });
  // A link in the error summary leads to the field itself, even if that is a group of choices.
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".gh-summary a[href^='#']");
    const field = link && document.getElementById(link.hash.slice(1));
    if (!field) return;
    event.preventDefault();
    (field.matches("fieldset") ? field.querySelector("input") ?? field : field).focus();
  });
})();
