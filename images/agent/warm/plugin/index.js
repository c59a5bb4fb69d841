export default { id: 'tf-warm', name: 'warm', description: 'hooks as in a task', register(api) {
  api.on('before_tool_call', () => {});
  api.on('after_tool_call', () => {});
  api.on('before_prompt_build', () => ({ appendSystemContext: 'warm' }));
} };
