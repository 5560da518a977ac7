// @huggingface/inference at /hf; see __init__.py.
import { InferenceClient, textClassification } from "@huggingface/inference";

const [good, full, lost] = process.argv.slice(2);
const text = "The film was wonderful — café 🙂!", long = "fine ".repeat(30_000);
const options = { retry_on_error: false }; // else a 503 is repeated at once, again and again
const client = new InferenceClient();

async function ask(call) {
  try {
    return await call();
  } catch (error) {
    return { status: error.httpResponse?.status, reason: error.message, request_id: error.httpResponse?.requestId };
  }
}

const classify = (inputs, url = good, parameters = {}) =>
  ask(() => client.textClassification({ endpointUrl: `${url}/hf`, inputs, parameters }, options));

console.log(JSON.stringify({
  text: await classify(text),
  top_k: await classify(text, good, { top_k: 1 }),
  endpoint: await ask(() => client.endpoint(`${good}/hf/`).textClassification({ inputs: text })),
  function: await ask(() => textClassification({ endpointUrl: `${good}/hf`, inputs: text }, options)),
  list: await classify([text, text]),
  413: await classify(long),
  422: await classify(" "),
  429: await classify(text, full),
  503: await classify(text, lost),
  404: await ask(() => client.textClassification({ endpointUrl: `${good}/hf/nothing`, inputs: text }, options)),
}));
