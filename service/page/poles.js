// Which of two directions a weight speaks for. Of two labels the poles are the labels; of more, for and against the winner.

import { strings } from "./strings.js";

/** `low` and `high` are names; `signed(weight)` is above 0 where the weight speaks for `high`. */
export function poles(labels, winner) {
  if (labels.length !== 2) return { low: strings.against(winner), high: strings.pro(winner), signed: (weight) => weight };
  const [low, high] = ordered(labels);
  return { low, high, signed: (weight) => (winner === high ? weight : -weight) };
}

/** Two labels, the one that is good news last. */
export function ordered(labels) {
  return /^(pos|good|fav)/i.test(labels[0]) ? [labels[1], labels[0]] : labels;
}

/** "high" or "low": the colour of a label. */
export function side(labels, label) {
  return labels.length === 2 && ordered(labels)[0] === label ? "low" : "high";
}
