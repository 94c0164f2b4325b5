// data-reveal="id of a password field": shows and hides what was typed.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-reveal]");
  const field = button && document.getElementById(button.dataset.reveal);
  if (!field) return;
  const shown = field.type === "password";
  field.type = shown ? "text" : "password";
  button.setAttribute("aria-pressed", String(shown));
  button.title = shown ? "Hide" : "Show";
});
// A shown secret is hidden again before it is sent, so that the browser does not offer it as form history.
document.addEventListener("submit", (event) => {
  for (const button of event.target.querySelectorAll("[data-reveal][aria-pressed='true']")) button.click();
}, true);
