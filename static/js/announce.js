// Says a sentence to screen readers: document.dispatchEvent(new CustomEvent("announce", {detail: "Copied"})).
// Swaps fill #announcements out of band; this is for scripts.
document.addEventListener("announce", (event) => {
  const region = document.getElementById("announcements");
  if (!region) return;
  region.textContent = "";
  // The region has to be empty first, or the same sentence twice is announced only once.
  requestAnimationFrame(() => { region.textContent = event.detail; });
});
