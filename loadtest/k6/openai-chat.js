// OpenAI chat traffic for k6, with prompt and answer lengths of Azure's conversation trace.
//
//   k6 run -e BASE_URL=http://127.0.0.1:10000 -e MODELS=llama-3.1-8b -e TRAFFIC=spike \
//     loadtest/k6/openai-chat.js
//
// k6 reads a body as a whole, so a streamed answer's first byte is its TTFT (http_req_waiting) and
// the time from there to its last byte, over its tokens less one, its TPOT.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:10000';
const MODELS = (__ENV.MODELS || 'llama-3.1-8b').split(',');
const TRAFFIC = __ENV.TRAFFIC || 'constant';
const REQUESTS_PER_SECOND = Number(__ENV.RATE || 10);
const RUN_SECONDS = Number(__ENV.RUN_SECONDS || 60);
const STREAM = (__ENV.STREAM || 'true') === 'true';
const MOST_OUTPUT_TOKENS = Number(__ENV.MOST_OUTPUT_TOKENS || 512);

const ttft = new Trend('ttft', true);
const tpot = new Trend('tpot', true);
const outputTokens = new Counter('output_tokens');
const answered = new Rate('answered');

// Quantiles of the trace (share, tokens), joined by straight lines.
const PROMPT_TOKENS = [
  [0.0, 2], [0.05, 181], [0.1, 207], [0.2, 387], [0.35, 414], [0.4, 922], [0.5, 1020],
  [0.6, 1071], [0.7, 1130], [0.8, 1315], [0.9, 2734], [0.95, 4083], [0.99, 4142], [1.0, 14050],
];
const OUTPUT_TOKENS = [
  [0.0, 7], [0.1, 43], [0.25, 83], [0.5, 129], [0.75, 342], [0.9, 423], [0.99, 694], [1.0, 1000],
];

function drawn(quantiles) {
  const share = Math.random();
  for (let i = 1; i < quantiles.length; i += 1) {
    const [right, high] = quantiles[i];
    if (share <= right) {
      const [left, low] = quantiles[i - 1];
      return Math.round(low + ((share - left) / (right - left)) * (high - low));
    }
  }
  return quantiles[quantiles.length - 1][1];
}

// Rates of the stages as parts of RATE, over parts of the run.
const STAGES = {
  constant: [[1.0, 1.0]],
  ramp: [[1.0, 1.0]],
  spike: [[0.4, 0.25], [0.001, 1.0], [0.2, 1.0], [0.001, 0.25], [0.398, 0.25]],
  diurnal: [[0.25, 0.6], [0.25, 1.0], [0.25, 0.6], [0.25, 0.2]],
};
const START = { constant: 1.0, ramp: 0.0, spike: 0.25, diurnal: 0.2 };

if (!(TRAFFIC in STAGES)) {
  throw new Error(`TRAFFIC is ${TRAFFIC}, it must be one of ${Object.keys(STAGES).join(', ')}`);
}

export const options = {
  scenarios: {
    chat: {
      executor: 'ramping-arrival-rate',
      startRate: Math.max(1, Math.round(START[TRAFFIC] * REQUESTS_PER_SECOND)),
      timeUnit: '1s',
      preAllocatedVUs: 50,
      maxVUs: 2000,
      stages: STAGES[TRAFFIC].map(([part, rate]) => ({
        duration: `${Math.max(1, Math.round(part * RUN_SECONDS * 1000))}ms`,
        target: Math.max(1, Math.round(rate * REQUESTS_PER_SECOND)),
      })),
    },
  },
  thresholds: {
    answered: ['rate>0.99'],
    ttft: [`p(95)<${__ENV.TTFT_P95_MS || 1000}`],
    tpot: [`p(95)<${__ENV.TPOT_P95_MS || 50}`],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

const WORDS = 'the water falls and the wheel turns and the mill grinds ';

function prompt(tokens) {
  const text = `${Math.random()} ${WORDS.repeat(Math.ceil((tokens * 4.2) / WORDS.length))}`;
  return text.slice(0, Math.round(tokens * 4.2));
}

export default function chat() {
  const body = {
    model: MODELS[Math.floor(Math.random() * MODELS.length)].trim(),
    messages: [{ role: 'user', content: prompt(drawn(PROMPT_TOKENS)) }],
    max_tokens: Math.max(1, Math.min(drawn(OUTPUT_TOKENS), MOST_OUTPUT_TOKENS)),
  };
  if (STREAM) {
    body.stream = true;
    body.stream_options = { include_usage: true };
  }
  const answer = http.post(`${BASE_URL}/v1/chat/completions`, JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json' },
    timeout: '300s',
  });
  const whole = STREAM ? String(answer.body).includes('data: [DONE]') : answer.status === 200;
  const ok = check(answer, { 'answered to the end': () => answer.status === 200 && whole });
  answered.add(ok);
  if (!ok) {
    return;
  }
  const counted = tokensOf(answer);
  outputTokens.add(counted);
  if (STREAM) {
    ttft.add(answer.timings.waiting);
    if (counted > 1) {
      tpot.add(answer.timings.receiving / (counted - 1));
    }
  }
}

function tokensOf(answer) {
  const found = String(answer.body).match(/"completion_tokens":\s*(\d+)/g);
  return found === null ? 0 : Number(found[found.length - 1].match(/\d+/)[0]);
}
