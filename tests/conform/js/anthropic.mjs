// What users of the `@anthropic-ai/sdk` package rely on.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({ baseURL: process.env.SERVER, apiKey: 'sk-of-the-test', maxRetries: 0, timeout: 20_000 });
const asked = (content, more = {}) => ({ model: 'scripted', max_tokens: 4000, messages: [{ role: 'user', content }], ...more });

export async function a_message_comes_whole_and_streamed() {
  const whole = await client.messages.create(asked('Tell me a story.'));
  assert.deepEqual(whole.content, [{ type: 'text', text: 'Once upon a time' }]);
  const words = [];
  const stream = client.messages.stream(asked('Tell me a story.')).on('text', (word) => words.push(word));
  const final = await stream.finalMessage();
  assert.deepEqual(words, ['Once', ' upon', ' a', ' time']);
  assert.deepEqual(final.content.map((block) => block.text), ['Once upon a time']);
  assert.equal(final.stop_reason, 'end_turn');
}

export async function uses_of_tools_stream() {
  const tools = [{ name: 'get_weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }];
  const final = await client.messages.stream(asked('What is the weather in Seoul and Paris?', { tools })).finalMessage();
  assert.deepEqual(final.content.map((block) => block.input), [{ city: 'Seoul' }, { city: 'Paris' }]);
  assert.equal(final.stop_reason, 'tool_use');
}

export async function errors_have_their_classes() {
  await assert.rejects(client.messages.create(asked('Hi', { model: 'claude-17' })), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create(asked('Hi', { temperature: 'hot' })), Anthropic.BadRequestError);
  await assert.rejects(client.messages.stream(asked('Be cut.')).finalMessage(), Anthropic.APIError);
}
