// What users of the `openai` package rely on.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const client = new OpenAI({ baseURL: `${process.env.SERVER}/v1`, apiKey: 'sk-of-the-test', maxRetries: 0, timeout: 20_000 });
const model = 'scripted';
const STORY = 'Tell me a story.';
const CITIES = 'What is the weather in Seoul and Paris?';
const ADA = 'Who wrote the first program?';
const WEATHER = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const Person = z.object({ name: z.string(), born: z.number() });

const said = (content) => [{ role: 'user', content }];

async function words(stream, of) {
  const words = [];
  for await (const each of stream) {
    const word = of(each);
    if (word) words.push(word);
  }
  return words;
}

export async function a_chat_comes_whole_and_streamed() {
  const whole = await client.chat.completions.create({ model, messages: said(STORY) });
  assert.equal(whole.choices[0].message.content, 'Once upon a time');
  const stream = await client.chat.completions.create({ model, messages: said(STORY), stream: true });
  assert.deepEqual(await words(stream, (chunk) => chunk.choices[0].delta.content), ['Once', ' upon', ' a', ' time']);
}

export async function the_chat_helper_folds_the_chunks_to_the_answer() {
  const stream = client.chat.completions.stream({ model, messages: said(STORY), stream_options: { include_usage: true } });
  const deltas = [];
  stream.on('content', (delta) => delta && deltas.push(delta));
  const answer = await stream.finalChatCompletion();
  assert.deepEqual(deltas, ['Once', ' upon', ' a', ' time']);
  assert.equal(answer.choices[0].message.content, 'Once upon a time');
  assert.equal(answer.usage.total_tokens, 14);
}

export async function the_tool_runner_of_chat_reaches_an_answer() {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: said(CITIES),
    stream: true,
    tools: [{
      type: 'function',
      function: { name: 'get_weather', parameters: WEATHER, parse: JSON.parse, function: ({ city }) => (asked.push(city), `fine in ${city}`) },
    }],
  });
  assert.equal(await runner.finalContent(), 'It is fine in Seoul and fine in Paris today.');
  assert.deepEqual(asked.sort(), ['Paris', 'Seoul']);
}

export async function a_chat_is_parsed_by_a_schema_of_zod() {
  const answer = await client.chat.completions.parse({ model, messages: said(ADA), response_format: zodResponseFormat(Person, 'person') });
  assert.deepEqual(answer.choices[0].message.parsed, { name: 'Ada', born: 1815 });
}

export async function an_error_in_mid_stream_of_a_chat_is_thrown_after_what_came() {
  for (const text of ['Be cut.', 'Fail after two words.']) {
    const stream = await client.chat.completions.create({ model, messages: said(text), stream: true });
    const came = [];
    await assert.rejects(async () => {
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) came.push(chunk.choices[0].delta.content);
    }, OpenAI.APIError);
    assert.deepEqual(came, ['Once', ' upon']);
  }
}

export async function an_unknown_model_is_not_found() {
  await assert.rejects(client.chat.completions.create({ model: 'gpt-17', messages: said(STORY) }), (error) => {
    assert(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return true;
  });
}

export async function a_wrong_parameter_is_named() {
  await assert.rejects(client.chat.completions.create({ model, messages: said(STORY), temperature: 'hot' }), (error) => {
    assert(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, 'temperature');
    return true;
  });
}

export async function models_and_embeddings_are_there() {
  const names = await words(await client.models.list(), (each) => each.id);
  assert(names.includes('scripted') && names.includes('gpt-4o'));
  const { data } = await client.embeddings.create({ model: 'vectors', input: ['a fox', 'a kite'] });
  assert.deepEqual(data.map((each) => each.embedding.length), [192, 192]);
}

export async function a_response_comes_whole_and_streamed() {
  const whole = await client.responses.create({ model, input: STORY });
  assert.equal(whole.output_text, 'Once upon a time');
  const stream = await client.responses.create({ model, input: STORY, stream: true });
  const deltas = await words(stream, (event) => event.type === 'response.output_text.delta' && event.delta);
  assert.deepEqual(deltas, ['Once', ' upon', ' a', ' time']);
}

export async function the_responses_helper_ends_with_what_was_streamed() {
  const stream = client.responses.stream({ model, input: STORY });
  const numbers = await words(stream, (event) => event.sequence_number + 1);
  assert.deepEqual(numbers, numbers.map((_, place) => numbers[0] + place));
  const final = await stream.finalResponse();
  assert.equal(final.output_text, 'Once upon a time');
  assert.equal(final.status, 'completed');
  assert.equal((await client.responses.retrieve(final.id)).output_text, 'Once upon a time');
}

export async function a_response_is_parsed_by_a_schema_of_zod() {
  const answer = await client.responses.parse({ model, input: ADA, text: { format: zodTextFormat(Person, 'person') } });
  assert.deepEqual(answer.output_parsed, { name: 'Ada', born: 1815 });
}

export async function calls_of_a_response_go_on_from_it() {
  const tools = [{ type: 'function', name: 'get_weather', parameters: WEATHER, strict: true }];
  const asked = await client.responses.stream({ model, input: CITIES, tools }).finalResponse();
  const calls = asked.output.filter((item) => item.type === 'function_call');
  assert.deepEqual(calls.map((call) => JSON.parse(call.arguments).city), ['Seoul', 'Paris']);
  const input = calls.map((call) => ({ type: 'function_call_output', call_id: call.call_id, output: 'fine' }));
  const answer = await client.responses.create({ model, input, tools, previous_response_id: asked.id });
  assert.equal(answer.output_text, 'It is fine and fine today.');
}

export async function an_error_in_mid_stream_of_a_response_is_an_event() {
  for (const text of ['Be cut.', 'Fail after two words.']) {
    const stream = await client.responses.create({ model, input: text, stream: true });
    const types = await words(stream, (event) => event.type);
    assert.equal(types.at(-1), 'response.failed');
  }
}

export async function a_response_in_the_background_goes_on_after_a_cut() {
  const begun = await client.responses.create({ model, input: 'Count to 2000.', background: true, stream: true });
  const came = [];
  for await (const event of begun) if (came.push(event) === 20) break;
  const rest = await client.responses.retrieve(came[0].response.id, { stream: true, starting_after: came.at(-1).sequence_number });
  for await (const event of rest) came.push(event);
  assert.deepEqual(came.map((event) => event.sequence_number), came.map((_, place) => came[0].sequence_number + place));
  const text = came.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');
  assert.equal(text.trim().split(' ').length, 2000);
}
