// Every word that the page shows, so that a language can be added: another file like this one. Sample texts: samples.js.

const language = "en";
const whole = new Intl.NumberFormat(language);
const percents = [0, 1, 2].map(
  (digits) => new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }),
);
const signed = new Intl.NumberFormat(language, { signDisplay: "exceptZero", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const fixed = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A count, such as 12,500. */
export const count = (value) => whole.format(value);
/** A share in whole per cent, which says 0 or 100 only of what is exactly so. */
export function percent(share) {
  if (share > 0 && share < 0.01) return `<${percents[0].format(0.01)}`;
  if (share < 1 && share > 0.99) return `>${percents[0].format(0.99)}`;
  return percents[0].format(share);
}
/** A share with one or two digits after the point. */
export const exactly = (share, digits = 1) => percents[digits].format(share);
/** A weight, such as +1.20 or −0.31. */
export const weight = (value) => signed.format(value).replace("-", "−");
/** A value with two digits. */
export const decimal = (value) => fixed.format(value).replace("-", "−");
/** Milliseconds as people say them. */
export const duration = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

const many = (number, one, others) => `${count(number)} ${number === 1 ? one : others}`;
const later = (seconds) => (seconds < 120 ? many(seconds, "second", "seconds") : many(Math.ceil(seconds / 60), "minute", "minutes"));

export const strings = {
  language,
  name: "Ovation",
  skip: "Skip to the content",
  pro: (label) => `for ${label}`,
  against: (label) => `against ${label}`,

  views: {
    label: "Sections",
    try: "Try it",
    many: "Many at once",
    model: "The model",
    service: "The service",
    lstm: "Inside the LSTM",
    docs: "API reference",
  },

  key: {
    title: "This service asks for a key",
    why: "Whoever runs it has given its callers keys. Yours stays in this tab and is sent to this service alone.",
    refused: "The key was refused. Enter another, or ask whoever runs the service for one.",
    label: "API key",
    characters: "A key has letters, digits and marks, without blanks.",
    use: "Use this key",
    without: "Go on without",
    change: "Enter an API key",
  },

  problems: {
    0: () => "Nobody answered. Is the service still running? Type again once it is.",
    401: () => "This service wants an API key. Enter one with the button at the foot of this page.",
    403: ({ detail }) => `The service refused this page or this key: ${detail}`,
    forbidden_origin: () => "The service takes this page for a foreign one. Open it under the service's own address, or have its operator allow this one (OVATION_CORS_ORIGINS).",
    404: () => "The service has no such route. It may be older than this page: reload.",
    invalid: ({ detail }) => `The service cannot take this text. ${detail}`,
    body_too_large: () => "This is more than the service takes at once. Send a shorter text.",
    no_evidence: () => "This model gives no evidence, so the words cannot be weighed.",
    no_inspection: () => "This model's graph is not one whose LSTM can be shown.",
    overloaded: ({ seconds }) => `The service is busy. It will take this again in ${many(seconds, "second", "seconds")}; this page asks again by itself.`,
    rate_limited: ({ seconds }) => `This key may have no more words read for now: its allowance is spent. It is back in ${later(seconds)}; this page asks again by itself.`,
    429: ({ seconds }) => `Too much at once. Come back in ${many(seconds, "second", "seconds")}; this page asks again by itself.`,
    not_ready: ({ seconds }) => `The service is starting or stopping. This page asks again in ${many(seconds, "second", "seconds")}.`,
    timeout: () => "The answer took longer than the service allows. Try again, or send less at once.",
    slow_body: () => "The text did not reach the service in time. Check the connection and try again.",
    internal: () => "Something in the service failed. Its log says what; try again.",
    other: ({ status, detail }) => `The service answered ${status}. ${detail}`,
  },

  try: {
    title: "See what the model sees",
    lead: "A small neural network reads your text while you type, says what it thinks of it, how sure it is, and why.",
    box: "Your text",
    placeholder: "Write or paste a review, a message, three words …",
    samples: "Or take one of these",
    verdict: "Verdict",
    evidence: "What each word says",
    sentences: "Sentence by sentence",
    calls: "Get this answer yourself",
  },

  verdict: {
    reading: "Reading …",
    empty: "Nothing to read yet",
    emptyHint: "Write something, or take a sample.",
    unsure: "Not sure",
    leaning: (label, score) => `It leans to ${label}, at ${percent(score)}: take that as “don’t know”.`,
    meaning: (score) => `Of 100 texts with an answer this sure, about ${Math.min(99, Math.round(score * 100))} really are so.`,
    unknownOnly: "The model knows none of these words.",
    spoken: (label, score, uncertain) => (uncertain ? `Not sure. It leans to ${label}, ${percent(score)}.` : `${label}, ${percent(score)}.`),
    bar: (label, score) => `Probability: ${percent(score)} ${label}`,
    band: (below) => `not sure below ${percent(below)}`,
    tokens: (tokens) => many(tokens, "token read", "tokens read"),
    truncated: (read, tokens) => `Only ${count(read)} of ${count(tokens)} tokens were read: this model reads no more. The rest is grey below.`,
    unknown: (share) => (share === 0 ? "knows every word" : `does not know ${percent(share)} of the words`),
    roundTrip: (total) => `${duration(total)} there and back`,
    server: (time) => `${duration(time)} in the service`,
  },

  evidence: {
    hint: "Point at a word for its weight. Click it to leave it out.",
    keys: "Arrow keys go from word to word, Enter leaves one out, Escape takes all back.",
    group: "The text, word by word",
    towards: (pole) => `towards ${pole}`,
    token: (word, value, pole, hidden) => `${word}: ${weight(value)} ${pole}${hidden ? ", left out" : ""}`,
    even: "no weight",
    strongest: (pole) => `Most ${pole}`,
    none: "No word speaks for it.",
    truth: "The weights and a constant add up to the answer exactly. They are not what would change without the word: for that, click it.",
    without: (words) => `Without ${words}`,
    quote: (word) => `“${word}”`,
    andMore: (number) => ` and ${count(number)} more`,
    becomes: (label, score) => `${label}, ${percent(score)}`,
    instead: (label, score) => `instead of ${label}, ${percent(score)}`,
    nothingLeft: "nothing is left to read",
    restore: "Take all back",
    unread: "not read by this model",
  },

  buildup: {
    title: "How the answer builds up",
    hint: "Word after word, the weights so far.",
    label: (from, to) => `A line from ${from} before the first word to ${to} after the last.`,
    at: (share, label) => `${percent(share)} ${label}`,
    start: "start",
  },

  sentences: {
    mixed: "Mixed: its sentences disagree.",
    agree: "Its sentences do not disagree.",
    one: "A single sentence: nothing to compare.",
    tooMany: "Too many sentences to judge each.",
    list: "Sentences with their verdicts",
    unsure: (label) => `not sure, ${label}`,
  },

  calls: {
    curl: "curl",
    python: "Python",
    copy: "Copy",
    copied: "Copied",
    select: "Selected: press Ctrl+C",
    tabs: "Language",
  },

  many: {
    title: "Many at once",
    lead: "Drop a table or a list of texts. It is read here in the browser and sent to this service alone, in slices.",
    drop: "Drop a CSV, TSV, JSON lines or text file here, or",
    choose: "choose a file",
    paste: "Or paste rows",
    pastePlaceholder: "text,stars\n\"Boils in no time.\",5\n\"Leaks from the handle.\",1",
    read: "Read these rows",
    sample: "Use an example",
    column: "Column with the text",
    header: "The first row has the names of the columns",
    columnName: (number) => `Column ${number}`,
    found: (rows, format) => `${many(rows, "row", "rows")}, read as ${format}.`,
    cut: (rows, most) => `Only the first ${count(most)} of ${count(rows)} rows are taken: for more, use the API or the command line.`,
    formats: { csv: "CSV", tsv: "TSV", json: "JSON lines", text: "lines of text" },
    preview: "First rows",
    score: "Judge them",
    cancel: "Cancel",
    progress: (done, all) => `${count(done)} of ${count(all)} judged`,
    cancelled: (done) => `Cancelled after ${count(done)}.`,
    done: (answered, failed, seconds) => `${count(answered)} judged in ${seconds.toFixed(1)} s${failed ? `, ${count(failed)} without an answer` : ""}.`,
    waiting: (seconds) => `The service is busy; going on in ${many(seconds, "second", "seconds")}.`,
    distribution: "How the answers lie",
    bars: (label) => `How many texts have which probability of ${label}`,
    bin: (from, to, number) => `${percent(from)} to ${percent(to)}: ${many(number, "text", "texts")}`,
    filter: "Label",
    all: "all",
    uncertainOnly: "only where it is not sure",
    table: "Answers",
    row: "Row",
    text: "Text",
    label: "Label",
    probability: (label) => `Probability of ${label}`,
    certainty: "Score",
    unsure: "not sure",
    more: (number) => `Show ${count(number)} more`,
    shown: (shown, all) => `${count(shown)} of ${count(all)} shown`,
    download: "Download as CSV",
    errors: {
      empty: "There are no rows in it.",
      big: (megabytes) => `The file is larger than ${megabytes} MB. Cut it, or use the command line.`,
      encoding: "The file is neither UTF-8 nor UTF-16. Save it as UTF-8 and drop it again.",
      json: (line) => `Line ${line} is not JSON, though the first is. Mend it and try again.`,
    },
  },

  model: {
    title: "The model",
    lead: "Everything here is read from the model that is being served: another one shows its own figures.",
    facts: "What it is",
    fields: {
      model: "Model",
      created: "Made",
      labels: "Labels",
      reads: "Reads",
      rules: "Words by",
      flagged: "Not sure below",
      provider: "Runs on",
      exactness: "Batches",
    },
    reads: (tokens, truncation) =>
      `up to ${count(tokens)} tokens of a text: ${{ head: "the first", tail: "the last", "head-and-tail": "half from its beginning, half from its end" }[truncation] ?? truncation}`,
    headline: {
      accuracy: "of its answers are right",
      of: (texts, split) => `on ${count(texts)} ${split} texts`,
      interval: (low, high) => `95 % interval ${exactly(low, 2)} to ${exactly(high, 2)}`,
      calibration: "is how far its scores are off",
      calibrationNote: "on average, against the share that is right (ECE)",
      unflagged: "of its answers are sure",
      unflaggedNote: (accuracy) => `and ${exactly(accuracy, 2)} of those are right`,
    },
    splits: { test: "test", validation: "validation" },
    accuracy: "How often it is right",
    groups: {
      by_source: "By data set",
      by_length: "By length",
      by_rating: "By stars",
    },
    source: (name) => {
      const [set, domain] = name.split(": ");
      const known = { imdb: "film reviews", sst: "sentences of film reviews", "fdu-mtl": "product reviews" };
      return (known[set] ?? set) + (domain ? `: ${domain.replaceAll("_", " ")}` : "");
    },
    rating: (stars) => (stars === "1" ? "1 star" : `${stars} stars`),
    columns: ["Right", "Texts"],
    note: "Bars are 95 % intervals.",
    more: (share, accuracy, ece) =>
      [
        share === undefined ? "" : `sure of ${percent(share)}`,
        accuracy === undefined ? "" : `${exactly(accuracy)} of those right`,
        ece === undefined ? "" : `ECE ${exactly(ece)}`,
      ].filter(Boolean).join(", "),
    reliability: "Can its scores be believed?",
    reliabilityNote: "A point on the diagonal: of the answers with that score, just that share is right.",
    reliabilityLabel: "Share that is right against score",
    coverage: "What if it may abstain?",
    coverageNote: "The surest answers first: the fewer it gives, the more of them are right. The mark is where “not sure” begins.",
    coverageLabel: "Share that is right against share answered",
    score: "score",
    answered: "share answered",
    none: "This model's manifest has no figures.",
    limits: "What it cannot do",
    known: {
      cut: (tokens) => `Of a text longer than ${count(tokens)} tokens it reads a part; the page says so where it happens.`,
      weakest: (texts, accuracy) => `It is least often right on ${texts}: ${exactly(accuracy)}.`,
      language: "It does not notice another language. Many unknown words and “not sure” give it away.",
      irony: "Irony is read mostly as it is written.",
      weights: "A word's weight is its share of the network's sum. It is no proof that the word caused the answer.",
      people: "It judges texts, not people: do not decide about anybody by it.",
    },
    textsOf: { by_source: (name) => name, by_length: (name) => `texts of ${name}`, by_rating: (name) => `texts given ${name}` },
  },

  service: {
    title: "The service",
    lead: "Live, from /health/ready and /metrics of the service.",
    ready: "Ready",
    notReady: "Not ready",
    unknown: "Asking …",
    rate: "Requests a second",
    median: "Half answered within",
    slow: "99 % answered within",
    queue: "Texts waiting",
    refused: "Refused a second",
    connections: "Connections",
    windowNote: "Latency over the last minute; the lines show the last two.",
    texts: (number) => `${count(number)} texts judged since the start`,
    perSecond: (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value))),
    latency: (seconds) => duration(seconds * 1000),
    quiet: "–",
    byStatus: "Answers since the start",
    protocol: "Wire",
    status: "Status",
    number: "Requests",
    noRequests: "No request for a prediction yet.",
  },

  lstm: {
    title: "Inside the LSTM",
    lead: "The network reads one token after another and keeps a memory. Three gates, numbers from 0 to 1, say what it keeps, what it writes and what it shows.",
    text: "The text",
    off: "This service does not show its LSTM at work (OVATION_INSPECT is off). The equations hold all the same.",
    direction: "Reading direction",
    forward: "first to last",
    backward: "last to first",
    picture: "Gates and memory along the text",
    pictureHint: "Every column is a token, every row one of the network's units. Point at a cell, or use the sliders.",
    maps: {
      input_gate: "Input gate",
      forget_gate: "Forget gate",
      output_gate: "Output gate",
      candidate: "Candidate",
      cell: "Memory",
      hidden: "State",
    },
    mapLabel: (name, units, tokens) => `${name} of ${units} units along ${tokens} tokens`,
    token: "Token",
    unit: "Unit",
    unitName: (number, all) => `${number} of ${all}`,
    cut: (shown, read) => `The first ${count(shown)} of ${count(read)} tokens.`,
    equations: "The equations, with the numbers of this cell",
    rows: [
      ["input_gate", "how much of the candidate is written"],
      ["forget_gate", "how much of the old memory is kept"],
      ["output_gate", "how much of the memory is shown"],
      ["candidate", "what could be written"],
      ["cell", "kept and written"],
      ["hidden", "what the next step and the last layer see"],
    ],
    here: (word, unit) => `at “${word}”, unit ${unit}`,
    legend: { gate: ["0", "1"], state: ["below 0", "above 0"] },
    code: "The same in Python, as the service runs it: service/model/cell.py.",
    afterwards: "Two such networks read the text, one in each direction. For every unit the largest state and the mean over all tokens go into one linear layer, which is why each token's share of the answer can be read off exactly.",
  },

  footer: {
    model: (model) => `Answers by ${model}`,
    privacy: "Your texts go to this service and nowhere else; it does not store or log them.",
  },
};
