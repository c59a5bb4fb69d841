// The cells of the Node clients: `node suite.mjs EMULATOR [GATEWAY KEY]`. The last line is the count.
//
// Without a gateway each client speaks to its own provider at the emulator; with one, to every provider through it.
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, Output, stepCountIs, streamText, tool } from "ai";
import assert from "node:assert/strict";
import OpenAI from "openai";
import { z } from "zod";

const [emulator, gateway, key = "any-key"] = process.argv.slice(2);
const PROVIDERS = ["openai", "compatible", "anthropic", "gemini", "ollama"];
const TOOLS = ["get_weather", "get_time"];
const CITY = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const HELLO = [{ role: "user", content: "hello" }];
// It warns of models that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false;
const steps = stepCountIs ?? isStepCount;

// OpenAI's models are known by their names; the emulator knows them with and without this beginning.
const named = (provider, name) => (provider === "openai" ? `gpt-${name}` : name);
const model = (provider, name) => (gateway ? `${provider}/${named(provider, name)}` : named(provider, name));
const v1 = (provider) => (gateway ? `${gateway}/v1` : `${emulator}/${provider}/v1`);
const openai = (provider) => new OpenAI({ baseURL: v1(provider), apiKey: key, maxRetries: 0, timeout: 20000 });
const anthropic = (provider) =>
  new Anthropic({ baseURL: gateway ?? `${emulator}/${provider}`, apiKey: key, maxRetries: 0, timeout: 20000 });
const vercel = {
  chat: (provider, name) => createOpenAI({ baseURL: v1(provider), apiKey: key }).chat(model(provider, name)),
  responses: (provider, name) => createOpenAI({ baseURL: v1(provider), apiKey: key }).responses(model(provider, name)),
  messages: (provider, name) => createAnthropic({ baseURL: v1(provider), apiKey: key })(model(provider, name)),
};
const active = async () => (await fetch(`${emulator}/_active`)).json();

const fits = (value) => {
  assert.deepEqual(Object.keys(value).sort(), ["city", "days"]);
  assert.equal(typeof value.city, "string");
  assert.ok(Number.isInteger(value.days));
};

async function stopped(before) {
  const begun = Date.now();
  while ((await active()).live !== before.live) {
    assert.ok(Date.now() - begun < 5000, "the provider goes on");
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.equal((await active()).cancelled, before.cancelled + 1);
}

const chatTools = TOOLS.map((name) => ({ type: "function", function: { name, description: name, parameters: CITY } }));
const chat = {
  async text(p) {
    const answer = await openai(p).chat.completions.create({ model: model(p, "text"), messages: HELLO });
    assert.match(answer.choices[0].message.content, /你好 🚀. You said: hello/);
    assert.equal(answer.usage.prompt_tokens, 25);
  },
  async text_stream(p) {
    const stream = openai(p).chat.completions.stream({
      model: model(p, "text"), messages: HELLO, stream_options: { include_usage: true },
    });
    const answer = await stream.finalChatCompletion();
    assert.match(answer.choices[0].message.content, /你好 🚀. You said: hello/);
    assert.equal((await stream.totalUsage()).completion_tokens, 12);
  },
  async two_tools_stream(p) {
    // This client's accumulator keeps the last piece alone of a field that it does not know, as `reasoning_content` is.
    for (const name of p === "compatible" ? ["tools2", "odd"] : ["tools2", "odd", "verify-signature"]) {
      const ask = { model: model(p, name), tools: chatTools };
      const first = await openai(p).chat.completions.stream({ ...ask, messages: HELLO }).finalChatCompletion();
      const message = first.choices[0].message;
      assert.deepEqual(message.tool_calls.map((c) => c.function.name), TOOLS);
      for (const call of message.tool_calls) fits(JSON.parse(call.function.arguments));
      const plain = { ...message };
      delete plain.parsed;
      plain.tool_calls = message.tool_calls.map(({ id, type, function: f }) => ({
        id, type, function: { name: f.name, arguments: f.arguments },
      }));
      const results = message.tool_calls.map((c, n) => ({ role: "tool", tool_call_id: c.id, content: `result ${n}` }));
      const again = await openai(p).chat.completions.create({ ...ask, messages: [...HELLO, plain, ...results] });
      assert.match(again.choices[0].message.content, /The tools said.*result 0.*result 1/);
    }
  },
  async errors(p) {
    const ask = (name) => openai(p).chat.completions.create({ model: model(p, name), messages: HELLO });
    await assert.rejects(ask("err-429"), OpenAI.RateLimitError);
    await assert.rejects(ask("err-400"), OpenAI.BadRequestError);
  },
  async abort(p) {
    const before = await active();
    const stream = await openai(p).chat.completions.create({
      model: model(p, "slow-n2000-i10"), messages: HELLO, stream: true,
    });
    for await (const _chunk of stream) break;
    stream.controller.abort();
    await stopped(before);
  },
};

const responses = {
  async text(p) {
    const answer = await openai(p).responses.create({ model: model(p, "text"), input: "hello" });
    assert.match(answer.output_text, /你好 🚀. You said: hello/);
    assert.equal(answer.usage.total_tokens, 37);
  },
  async two_tools_stream(p) {
    const tools = TOOLS.map((name) => ({ type: "function", name, description: name, parameters: CITY, strict: true }));
    for (const name of ["tools2", "odd"]) {
      const stream = openai(p).responses.stream({ model: model(p, name), input: "hello", tools });
      const answer = await stream.finalResponse();
      const calls = answer.output.filter((o) => o.type === "function_call");
      assert.deepEqual(calls.map((c) => c.name), TOOLS);
      for (const call of calls) fits(JSON.parse(call.arguments));
    }
  },
};

const messages = {
  async text(p) {
    const answer = await anthropic(p).messages.create({ model: model(p, "text"), max_tokens: 100, messages: HELLO });
    assert.match(answer.content[0].text, /你好 🚀. You said: hello/);
  },
  async two_tools_stream(p) {
    const tools = TOOLS.map((name) => ({ name, description: name, input_schema: CITY }));
    for (const name of ["tools2", "odd", "verify-signature"]) {
      const ask = { model: model(p, name), max_tokens: 4000, tools };
      const first = await anthropic(p).messages.stream({ ...ask, messages: HELLO }).finalMessage();
      const calls = first.content.filter((b) => b.type === "tool_use");
      assert.deepEqual(calls.map((c) => c.name), TOOLS);
      for (const call of calls) fits(call.input);
      const results = calls.map((c, n) => ({ type: "tool_result", tool_use_id: c.id, content: `result ${n}` }));
      const turn = [...HELLO, { role: "assistant", content: first.content }, { role: "user", content: results }];
      const again = await anthropic(p).messages.create({ ...ask, messages: turn });
      const said = again.content.filter((b) => b.type === "text").map((b) => b.text).join("");
      assert.match(said, /The tools said.*result 0.*result 1/);
    }
  },
  async errors(p) {
    const ask = (name) =>
      anthropic(p).messages.create({ model: model(p, name), max_tokens: 10, messages: HELLO });
    await assert.rejects(ask("err-429"), Anthropic.RateLimitError);
    await assert.rejects(ask("err-400"), Anthropic.BadRequestError);
  },
  async abort(p) {
    const before = await active();
    const stream = anthropic(p).messages.stream({ model: model(p, "slow-n2000-i10"), max_tokens: 10, messages: HELLO });
    for await (const event of stream) if (event.type === "content_block_delta") break;
    stream.abort();
    await stopped(before);
  },
};

// The Vercel AI SDK calls the tools itself and sends the results back; what it keeps of an answer is its own affair.
const loop = (ingress) => ({
  async ai_text(p) {
    const { text, usage } = await generateText({ model: vercel[ingress](p, "text"), prompt: "hello", maxRetries: 0 });
    assert.match(text, /你好 🚀. You said: hello/);
    assert.equal(usage.outputTokens, 12);
  },
  async ai_tools_stream(p) {
    const called = [];
    const tools = Object.fromEntries(
      TOOLS.map((name, n) => [name, tool({
        description: name,
        inputSchema: z.object({ city: z.string(), days: z.number().int() }).strict(),
        execute: async (input) => (fits(input), called.push(name), `result ${n}`),
      })]),
    );
    // In Chat Completions this client sends no `reasoning_content` back.
    const keeps = !(ingress === "chat" && p === "compatible");
    for (const name of keeps ? ["tools2", "verify-signature"] : ["tools2"]) {
      called.length = 0;
      let thrown;
      const result = streamText({
        model: vercel[ingress](p, name), prompt: "hello", tools, stopWhen: steps(3), maxRetries: 0,
        onError: ({ error }) => (thrown = error),
        providerOptions: { openai: { store: false, include: ["reasoning.encrypted_content"] } },
      });
      const text = await result.text;
      if (thrown) throw thrown;
      assert.match(text, /The tools said.*result 0.*result 1/);
      assert.deepEqual(called, TOOLS);
    }
  },
  async ai_object(p) {
    const schema = z.object({ city: z.string(), days: z.number().int() }).strict();
    const { output } = await generateText({
      model: vercel[ingress](p, "schema"), prompt: "hello", output: Output.object({ schema }), maxRetries: 0,
    });
    fits(output);
  },
});

const suites = {
  chat: { ...chat, ...loop("chat") },
  responses: { ...responses, ...loop("responses") },
  messages: { ...messages, ...loop("messages") },
};
const direct = { chat: ["openai", "compatible"], responses: ["openai"], messages: ["anthropic"] };
let [passed, failed] = [0, 0];
for (const [ingress, cells] of Object.entries(suites)) {
  for (const provider of gateway ? PROVIDERS : direct[ingress]) {
    for (const [name, cell] of Object.entries(cells)) {
      try {
        await cell(provider);
        passed += 1;
      } catch (error) {
        failed += 1;
        const at = /suite\.mjs:\d+/.exec(error.stack ?? "")?.[0] ?? "?";
        console.log(`FAILED node ${ingress} → ${provider}: ${name}\n       ${at} ${error.name}: ${String(error.message).slice(0, 600)}`);
      }
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
