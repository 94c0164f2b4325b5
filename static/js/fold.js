// details[data-fold]: open on wide screens, where its summary is not shown; initially closed on narrow ones.
(() => {
  const wide = window.matchMedia("(min-width: 992px)");
  const apply = () => { for (const fold of document.querySelectorAll("details[data-fold]")) fold.open = wide.matches; };
  document.addEventListener("DOMContentLoaded", apply);
  wide.addEventListener("change", apply);
})();
