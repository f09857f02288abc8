// What users of the `ai` package rely on, with each of the providers that can be pointed at a server.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenResponses } from '@ai-sdk/open-responses';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, isStepCount, Output, streamText, tool } from 'ai';
import { z } from 'zod';

const server = process.env.SERVER;
const apiKey = 'sk-of-the-test';
const compatible = createOpenAICompatible({ name: 'anabranch', baseURL: `${server}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true })('scripted');
const responses = createOpenResponses({ name: 'anabranch', url: `${server}/v1/responses`, apiKey })('scripted');
const anthropic = createAnthropic({ baseURL: `${server}/v1`, apiKey })('scripted');

const STORY = 'Tell me a story.';
const Person = z.object({ name: z.string(), born: z.number() });
const tools = {
  get_weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `fine in ${city}` }),
};

async function generates(model) {
  const { text, usage, finishReason } = await generateText({ model, prompt: STORY, maxRetries: 0 });
  assert.equal(text, 'Once upon a time');
  assert.equal(finishReason, 'stop');
  assert.equal(usage.outputTokens, 4);
}

async function streams(model) {
  const result = streamText({ model, prompt: STORY, maxRetries: 0 });
  const words = [];
  for await (const word of result.textStream) words.push(word);
  assert.deepEqual(words.filter(Boolean), ['Once', ' upon', ' a', ' time']);
  assert.equal((await result.usage).totalTokens, 14);
  assert.equal(await result.finishReason, 'stop');
}

async function callsTools(model) {
  const asked = { model, tools, stopWhen: isStepCount(3), prompt: 'What is the weather in Seoul and Paris?', maxRetries: 0 };
  const expected = 'It is fine in Seoul and fine in Paris today.';
  assert.equal((await generateText(asked)).text, expected);
  assert.equal(await streamText(asked).text, expected);
}

async function givesObjects(model) {
  const asked = { model, output: Output.object({ schema: Person }), prompt: 'Who wrote the first program?', maxRetries: 0 };
  assert.deepEqual((await generateText(asked)).output, { name: 'Ada', born: 1815 });
  assert.deepEqual(await streamText(asked).output, { name: 'Ada', born: 1815 });
}

// Only Anthropic's API wants to be asked for its thoughts.
const providerOptions = { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } };

async function reasons(model) {
  const result = streamText({ model, prompt: 'Think about it.', maxRetries: 0, providerOptions });
  let reasoning = '';
  let text = '';
  for await (const part of result.fullStream) {
    if (part.type === 'reasoning-delta') reasoning += part.text;
    if (part.type === 'text-delta') text += part.text;
  }
  assert.deepEqual([reasoning, text], ['Six times seven.', '42']);
}

async function breaks(model) {
  for (const prompt of ['Be cut.', 'Fail after two words.']) {
    const types = [];
    let text = '';
    const result = streamText({ model, prompt, maxRetries: 0, onError: () => {} });
    for await (const part of result.fullStream) {
      types.push(part.type);
      if (part.type === 'text-delta') text += part.text;
    }
    assert.equal(text, 'Once upon');
    assert(types.includes('error'), `no error among ${types}`);
  }
}

export const compatible_generates = () => generates(compatible);
export const compatible_streams = () => streams(compatible);
export const compatible_calls_tools = () => callsTools(compatible);
export const compatible_gives_objects = () => givesObjects(compatible);
export const compatible_reasons = () => reasons(compatible);
export const compatible_tells_an_error_in_mid_stream = () => breaks(compatible);

export const open_responses_generates = () => generates(responses);
export const open_responses_streams = () => streams(responses);
export const open_responses_calls_tools = () => callsTools(responses);
export const open_responses_gives_objects = () => givesObjects(responses);
export const open_responses_reasons = () => reasons(responses);
export const open_responses_tells_an_error_in_mid_stream = () => breaks(responses);

export const anthropic_generates = () => generates(anthropic);
export const anthropic_streams = () => streams(anthropic);
export const anthropic_calls_tools = () => callsTools(anthropic);
export const anthropic_gives_objects = () => givesObjects(anthropic);
export const anthropic_reasons = () => reasons(anthropic);
export const anthropic_tells_an_error_in_mid_stream = () => breaks(anthropic);
