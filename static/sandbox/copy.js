// Copy buttons: hidden without JavaScript, so that no button does nothing.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const told = button.querySelector(".copied");
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      told.textContent = "Copied";
    } catch {
      const field = button.parentElement.querySelector("input");
      if (field) field.select();
      told.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { told.textContent = ""; }, 2000);
  });
}
