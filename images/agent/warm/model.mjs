// A model and an MCP server for one purpose: OpenClaw runs through its start, its tools and its end while the image is
// built, so that the compile cache is filled. It answers by the number of tool results in the request, nothing else.
import { createServer } from 'node:http';

// `turn` makes the calls of a resumed session differ from the first ones: the agent stops a model that repeats itself.
const calls = (turn) => [
  ['exec', { command: `echo hello > hello${turn}.txt && python3 -c "print(${turn})"` }],
  ['read', { path: `hello${turn}.txt` }],
  ['write', { path: `note${turn}.txt`, content: 'one\ntwo\n' }],
  ['edit', { path: `note${turn}.txt`, edits: [{ oldText: 'one', newText: '1' }] }],
  ['taskforge__report_progress', { text: `warm ${turn}` }],
];

function answer(body, res) {
  const messages = body.messages ?? [];
  // After a command has run, the agent ends each request with a user message of its own about running sessions.
  const last = messages.findLastIndex((m) => m.role === 'user' && !JSON.stringify(m.content).includes('OPENCLAW_INTERNAL_CONTEXT'));
  const done = messages.slice(last + 1).filter((m) => m.role === 'tool').length;
  const call = calls(last)[done];
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  const send = (delta, finish_reason = null) => res.write(`data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk',
    created: 1, model: body.model, choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
  if (call) {
    send({ role: 'assistant', tool_calls: [{ index: 0, id: `call_${last}_${done}`, type: 'function',
      function: { name: call[0], arguments: JSON.stringify(call[1]) } }] });
    send({}, 'tool_calls');
  } else {
    send({ role: 'assistant', content: 'done' });
    send({}, 'stop');
  }
  res.write(`data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: body.model, choices: [],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } })}\n\ndata: [DONE]\n\n`);
  res.end();
}

function mcp(body, res) {
  if (body.id === undefined) return res.writeHead(202).end();
  const results = {
    initialize: { protocolVersion: body.params?.protocolVersion ?? '2025-11-25', capabilities: { tools: {} },
      serverInfo: { name: 'taskforge', version: '0' } },
    'tools/list': { tools: [{ name: 'report_progress', description: 'warm',
      inputSchema: { type: 'object', properties: { text: { type: 'string' } } } }] },
    'tools/call': { content: [{ type: 'text', text: 'noted' }] },
  };
  const result = results[body.method];
  const reply = result ? { jsonrpc: '2.0', id: body.id, result } : { jsonrpc: '2.0', id: body.id, error: { code: -32601, message: 'no' } };
  res.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'warm' }).end(JSON.stringify(reply));
}

createServer((req, res) => {
  let text = '';
  req.on('data', (chunk) => { text += chunk; });
  req.on('end', () => {
    if (req.method !== 'POST') return res.writeHead(req.method === 'DELETE' ? 204 : 405).end();
    const body = JSON.parse(text || '{}');
    if (req.url === '/mcp') return mcp(body, res);
    if (req.url === '/v1/chat/completions') return answer(body, res);
    res.writeHead(204).end();
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
