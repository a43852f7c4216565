/** The colour of an emotion, as style.css has it. */
export function colour(emotion) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${emotion}`);
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
