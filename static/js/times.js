// Updates times as they pass, and gives the exact one in the person's time zone. The server's words are right when
// sent.
(() => {
  const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
  const steps = [[86400, "day"], [3600, "hour"], [60, "minute"]];

  const inWords = (seconds) => {
    const past = seconds >= 0;
    const distance = Math.abs(seconds);
    if (distance < 60) return past ? "just now" : "in a moment";
    const [size, unit] = steps.find(([length]) => distance >= length);
    const count = Math.floor(distance / size);
    if (unit === "day" && count === 1) return past ? "yesterday" : "tomorrow";
    const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
    return past ? `${words} ago` : `in ${words}`;
  };

  const refresh = (root) => {
    for (const element of root.querySelectorAll("time[data-when]")) {
      const at = new Date(element.dateTime);
      const seconds = (Date.now() - at) / 1000;
      element.title = exact.format(at);
      if (Math.abs(seconds) < 7 * 86400) element.textContent = inWords(Math.trunc(seconds));
    }
  };

  refresh(document);
  document.addEventListener("htmx:after:swap", () => refresh(document));
  setInterval(() => refresh(document), 30000);
})();
