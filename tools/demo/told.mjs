// What a company that runs now is told to be, and what to try with it: lines.
export function told(demo, single) {
  const { topology, token } = demo;
  const first = topology.branches[0];
  const status = [
    `  build/release/bin/branchline status --topology ${topology.file} --token $TOKEN`,
    `  build/release/bin/branchline audit --topology ${topology.file} --token $TOKEN`,
  ];
  const lines = [''];
  for (const b of topology.branches) lines.push(`  ${b.name.padEnd(8)} ${b.url}${b.wanUrl ? `   line: ${b.wanUrl}` : ''}`);
  lines.push(`  ${topology.master.name.padEnd(8)} ${topology.master.adminUrl} (operators)`, '');
  lines.push('Sign in with this token (an administrator, good at every office):', `  ${token}`, '');
  lines.push('Things to try:');
  if (single) {
    lines.push(
      `  open ${first.url} in a browser, sign in, make an account`,
      `  . ${demo.path('demo.env')}`,
      `  curl -H "Authorization: Bearer $TOKEN" ${first.url}/api/data/v9.2/accounts`,
      '  bring in what you have: build/release/bin/branchline import csv FILE --map MAP.yaml \\',
      `      --url ${first.url} --token $TOKEN       (tools/branchline/import/README.md; tools/demo/superstore/*.yaml are examples)`,
    );
  } else {
    const south = topology.byName('south');
    lines.push(
      `  open ${south.url} and ${topology.byName('hq').url}, sign in to both`,
      `  . ${demo.path('demo.env')}`,
      '  curl -X POST $SOUTH_WAN/down        cut the line; edit at south, it does not notice',
      '  curl -X POST $SOUTH_WAN/up          and head office has it a moment later',
      `  kill -9 $(cat ${demo.path('pid', 'south')})   it is back within a second, and nothing is lost`,
    );
  }
  lines.push(...status, '', `Data, logs and demo.env are in ${demo.directory}. Ctrl-C stops everything.`);
  return lines;
}
