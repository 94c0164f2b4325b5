// Controls whose edge (or own ground) has less than 3:1 against what is behind them: WCAG 1.4.11; axe has no such rule.
() => {
  const parse = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element.parentElement; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return parse("white");
  };
  const controls = document.querySelectorAll(".form-control, .form-select, .form-check-input, .gh-choice");
  return [...controls].filter((c) => c.offsetParent && !c.disabled && !c.classList.contains("disabled")).map((control) => {
    const style = getComputedStyle(control);
    const ratio = (color) => {
      const [a, b] = [light(parse(color)), light(ground(control))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    return [control.id || control.className, Math.max(ratio(style.borderTopColor), ratio(style.backgroundColor))];
  }).filter(([, ratio]) => ratio < 3);
}
