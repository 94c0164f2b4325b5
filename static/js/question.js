// #question holds a dialog from the server: sign in again, or give the password again. The page under it stays as it
// is, and the focus returns to what was pressed. data-close-question dismisses the question.
(() => {
  let pressed = null;
  let isPutOff = false;
  const holder = () => document.getElementById("question");
  const isPoll = (ctx) => ctx.request.headers["X-Polling"] === "1";

  const goBack = () => {
    if (pressed?.isConnected) pressed.focus({ preventScroll: true });
    pressed = null;
  };
  const putOff = () => { holder().replaceChildren(); isPutOff = true; goBack(); };

  const takeAnswer = (answer) => {
    const { token, person } = answer.dataset;
    // Someone else has signed in: this page is not theirs.
    if (person && person !== document.body.dataset.person) { location.reload(); return; }
    if (token) {
      for (const field of document.querySelectorAll("input[name='csrf_token']")) field.value = token;
      document.body.setAttribute("hx-headers:inherited", JSON.stringify({ "X-CSRFToken": token }));
    }
    answer.remove();
    isPutOff = false;
    goBack();
  };

  // Requests that pages make by themselves do not ask a question twice, nor one that was dismissed.
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx } = event.detail;
    if (ctx?.hx?.retarget !== "#question" || !isPoll(ctx)) return;
    if (isPutOff || holder().firstElementChild) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", () => {
    const dialog = holder()?.querySelector("dialog:not([open])");
    const answer = holder()?.querySelector("[data-answered]");
    if (answer) takeAnswer(answer);
    if (!dialog) return;
    pressed ??= document.activeElement;
    dialog.addEventListener("cancel", putOff);
    dialog.showModal();
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-close-question]")) putOff(); });
})();
