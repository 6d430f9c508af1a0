// Exact decimal sums, as integers of ten-thousandths of a millionth: ten decimals, what the servers keep.
const SCALE = 10;

export function decimal(text) {
  const m = /^(-?)(\d+)(?:\.(\d{1,10}))?$/.exec(String(text).trim());
  if (!m) throw new Error(`'${text}' is no decimal number`);
  const units = BigInt(m[2] + (m[3] ?? '').padEnd(SCALE, '0'));
  return m[1] ? -units : units;
}

export function show(units) {
  const digits = (units < 0n ? -units : units).toString().padStart(SCALE + 1, '0');
  const text = `${digits.slice(0, -SCALE)}.${digits.slice(-SCALE)}`.replace(/\.?0+$/, '');
  return units < 0n ? `-${text}` : text;
}
