// Placeholders with less than 4.5:1 against their field: WCAG 1.4.3; axe does not look at them.
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
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return parse("white");
  };
  return [...document.querySelectorAll("input[placeholder], textarea[placeholder]")].filter((field) => field.offsetParent).map((field) => {
    const style = getComputedStyle(field, "::placeholder");
    const [text, below] = [parse(style.color), ground(field)];
    const opacity = Number(style.opacity) * text[3] / 255;
    const seen = text.map((value, at) => value * opacity + below[at] * (1 - opacity));
    const [a, b] = [light(seen), light(below)].sort((x, y) => y - x);
    return [field.id || field.name, (a + 0.05) / (b + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
}
