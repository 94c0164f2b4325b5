// a[data-keeps-entries]: a link out of a step that keeps what was typed there, except secrets. The entries are sent
// along (data-keeps-entries says where to) and are on the page when the person comes back.
(() => {
  document.addEventListener("input", ({ target }) => { if (target.form?.id === "step-form") target.form.dataset.typed = ""; });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-keeps-entries]");
    const typed = document.querySelector("#step-form[data-typed]");
    if (!link || !typed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const entries = new FormData(typed);
    const token = entries.get("csrf_token");
    for (const secret of typed.querySelectorAll("[type='password'], [name='csrf_token']")) entries.delete(secret.name);
    const target = new URL(link.href);
    const fields = { csrf_token: token, next: target.pathname + target.search, page: location.pathname, kept: new URLSearchParams(entries) };
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: link.dataset.keepsEntries });
    for (const [name, value] of Object.entries(fields)) {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name, value });
      form.append(field);
    }
    document.body.append(form);
    form.submit();
  });
})();
