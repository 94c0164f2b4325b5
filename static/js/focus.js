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
  // A link in the error summary leads to the field itself, even if that is a group of choices.
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".gh-summary a[href^='#']");
    const field = link && document.getElementById(link.hash.slice(1));
    if (!field) return;
    event.preventDefault();
    (field.matches("fieldset") ? field.querySelector("input") ?? field : field).focus();
  });
})();
