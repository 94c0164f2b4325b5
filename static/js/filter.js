// data-filter="id of a list": hides the lines that do not contain what is typed; ticked ones stay.
document.addEventListener("input", (event) => {
  const list = document.getElementById(event.target.dataset.filter);
  if (!list) return;
  const wanted = event.target.value.trim().toLowerCase();
  for (const line of list.children) line.hidden = !line.textContent.toLowerCase().includes(wanted) && !line.querySelector(":checked");
});
