// Prometheus' text format, as far as this page reads it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples in `content`: a list of `{labels, value}` by the name of the series. */
export function parse(content) {
  const samples = new Map();
  for (const line of content.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const [, name, inner = "", value] = match;
    const labels = Object.fromEntries([...inner.matchAll(LABEL)].map(([, label, text]) => [label, text.replace(/\\(.)/g, (_, after) => (after === "n" ? "\n" : after))]));
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(value) });
  }
  return samples;
}

/** The sum of a series over all its labels, or over those that `passes`. */
export function total(samples, name, passes = () => true) {
  return (samples.get(name) ?? []).reduce((sum, { labels, value }) => (passes(labels) ? sum + value : sum), 0);
}

/** Cumulative counts of a histogram by upper bound, in order, added up over the labels that `passes`. */
export function buckets(samples, name, passes) {
  const counts = new Map();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    if (passes(labels)) counts.set(labels.le, (counts.get(labels.le) ?? 0) + value);
  }
  return [...counts].map(([bound, value]) => [bound === "+Inf" ? Infinity : Number(bound), value]).sort(([one], [other]) => one - other);
}

/** The quantile of what came between two readings of the same histogram, linear inside a bucket; null where nothing came. */
export function quantile(before, after, share) {
  const earlier = new Map(before);
  const counts = after.map(([bound, value]) => [bound, value - (earlier.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let [below, seen] = [0, 0];
  for (const [bound, value] of counts) {
    if (value >= share * all) return bound === Infinity ? below : below + ((bound - below) * (share * all - seen)) / (value - seen || 1);
    [below, seen] = [bound, value];
  }
  return below;
}
