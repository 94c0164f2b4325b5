// data-copy holds data-copy-value, data-copy-button and data-copy-said. The clipboard exists only on https and
// localhost; elsewhere the text is selected, ready for the keyboard.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-button]");
  const box = button?.closest("[data-copy]");
  if (!box) return;
  const value = box.querySelector("[data-copy-value]");
  const said = box.querySelector("[data-copy-said]");
  try {
    await navigator.clipboard.writeText(value.textContent.trim());
    button.classList.add("is-done");
    said.textContent = "Copied";
  } catch {
    window.getSelection().selectAllChildren(value);
    said.textContent = "Selected: press Ctrl+C, or Cmd+C, to copy";
  }
  setTimeout(() => { button.classList.remove("is-done"); said.textContent = ""; }, 3000);
});
