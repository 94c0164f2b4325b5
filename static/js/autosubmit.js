// data-autosubmit: a control that sends its form when it changes. Also marks a plain form as being sent, so that a
// second press does nothing; htmx marks its own.
(() => {
  document.addEventListener("change", (event) => {
    const control = event.target.closest("[data-autosubmit]");
    control?.form?.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.target || event.target.method === "dialog") return;
    if (event.target.classList.contains("is-sending")) { event.preventDefault(); return; }
    event.target.classList.add("is-sending");
    event.submitter?.classList.add("is-sending");
  });
  // The browser's Back button shows the page as it was left.
  window.addEventListener("pageshow", () => {
    for (const element of document.querySelectorAll(".is-sending")) element.classList.remove("is-sending");
  });
})();
