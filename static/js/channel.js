// The small window reports that it is back and closes; the page behind it only treats that as a hint to ask the server.
// In the window: data-authorization-finished="attempt", and data-close-window if it may close.
// On the page: anything with hx-trigger="authorization-finished from:body".
(() => {
  if (!("BroadcastChannel" in window)) return;
  const channel = new BroadcastChannel("gatehouse");
  channel.addEventListener("message", (event) => {
    if (event.data?.event !== "authorization-finished") return;
    document.body.dispatchEvent(new CustomEvent("authorization-finished", { bubbles: true, detail: { attempt: event.data.attempt } }));
  });
  document.addEventListener("DOMContentLoaded", () => {
    const mark = document.querySelector("[data-authorization-finished]");
    if (!mark) return;
    channel.postMessage({ event: "authorization-finished", attempt: mark.dataset.authorizationFinished });
    // The server says whether this is the small window: its name and opener are lost when it passes through GitLab.
    if (mark.hasAttribute("data-close-window")) setTimeout(() => window.close(), 400);
  });
})();
