// An htmx request that fails says so at the place of the click: if there is no response at all, or a refusal, which the
// server addresses to #alerts. Polls have no such place: theirs is #alerts, which is cleared when they work again.
(() => {
  const SLOT = "[data-problem]";
  const isPoll = (ctx) => ctx.request.headers["X-Polling"] === "1";
  const clear = () => { for (const slot of document.querySelectorAll(SLOT)) slot.remove(); };

  // Inside floating or sticky elements, otherwise below the row, the line or the form that holds the control.
  const slotBeside = (source) => {
    clear();
    const slot = document.createElement("div");
    Object.assign(slot.dataset, { problem: "" });
    slot.className = "gh-problem";
    const row = source.closest("tbody tr");
    const holder = source.closest(".gh-bulk, .gh-toast, .modal-body, dialog form, li.gh-line");
    const places = [".gh-head", ".gh-actions", ".gh-line", "form:not([data-selection])", "nav"];
    if (row) {
      const [line, cell] = [document.createElement("tr"), document.createElement("td")];
      line.dataset.problem = "";
      cell.colSpan = row.cells.length;
      cell.append(slot);
      line.append(cell);
      row.after(line);
    } else if (holder) holder.append(slot);
    else (places.map((place) => source.closest(place)).find(Boolean) ?? source).after(slot);
    return slot;
  };

  const say = (ctx, text) => {
    const place = isPoll(ctx) ? document.getElementById("alerts") : slotBeside(ctx.sourceElement);
    if (!place || place.querySelector("[data-unreachable]")) return;
    const notice = document.createElement("div");
    notice.className = "alert alert-danger gh-notice";
    notice.setAttribute("role", "alert");
    notice.dataset.unreachable = isPoll(ctx) ? "poll" : "";
    const words = document.createElement("p");
    words.className = "gh-notice-text";
    words.textContent = text;
    notice.append(words);
    place.append(notice);
    if (!isPoll(ctx)) notice.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("htmx:error", ({ detail }) => {
    const { ctx } = detail;
    if (!ctx?.request || ctx.response) return;
    if (isPoll(ctx)) { say(ctx, "Gatehouse cannot be reached, so this page does not change. It tries again by itself."); return; }
    const isLate = ctx.request.signal.reason === "timeout";
    say(ctx, isLate
      ? "Gatehouse has not answered for 30 seconds. It may still have done what you asked: reload the page to see."
      : "Gatehouse cannot be reached. Check your network, then press again. What you entered is still here.");
  });
  document.addEventListener("htmx:before:response", (event) => {
    const { ctx } = event.detail;
    const { status } = ctx.response;
    if (status < 400) {
      if (!isPoll(ctx)) clear();
      document.querySelector("[data-unreachable='poll']")?.remove();
    } else if (ctx.hx.retarget === "#alerts") {
      if (!isPoll(ctx)) ctx.hx.retarget = slotBeside(ctx.sourceElement);
    } else if (status >= 500 && !ctx.hx.retarget) {
      // Every error of the portal names its place; this one comes from something in between, such as a proxy.
      event.preventDefault();
      say(ctx, `Something between you and Gatehouse answered with the error ${status}. Try again in a moment. What you entered is still here.`);
    }
  });
  // A person who is typing keeps the focus: only a press moves it to the refusal.
  document.addEventListener("htmx:before:swap", ({ detail: { ctx, tasks } }) => {
    if (!(ctx?.response?.status >= 400) || ["click", "submit"].includes(ctx.sourceEvent?.type)) return;
    for (const { fragment } of tasks) for (const taker of fragment.querySelectorAll?.("[data-take-focus]") ?? []) taker.removeAttribute("data-take-focus");
  });
})();
