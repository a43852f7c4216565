const tones = new Map(); // of labels that style.css does not know by name

/** Take the colours that the program gives to labels of its own. */
export function learn(told = {}) {
  for (const [label, tone] of Object.entries(told)) tones.set(label, tone);
}

/** The colour of a label, for CSS: the emotion's, as style.css has it, or what was learnt. */
export function tone(label) {
  return tones.get(label) ?? `var(--${label})`;
}

/** The same for a canvas. */
export function colour(label) {
  const known = /^var\((--.+)\)$/.exec(tone(label));
  if (!known) return tone(label);
  return getComputedStyle(document.documentElement).getPropertyValue(known[1]);
}

/** What a face shows; one whose emotion is not sure has none. */
export function shown(face) {
  return face.emotion ?? "unsure";
}

/** "87 %" */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** A new element with classes and text. */
export function make(tag, classes = "", text = "") {
  const element = document.createElement(tag);
  element.className = classes;
  element.textContent = text;
  return element;
}
