// Numbers, money and dates as people of a region write them.
export interface Formats {
  locale: string;
  number: (value: number) => string;
  money: (value: number) => string;
  date: (day: string) => string;
  time: (instant: string) => string;
  moment: (instant: string) => string;
  ago: (instant: string) => string;
  decimal: string;
  thousands: string;
}

// The currency of the schema (common/schema/crm.yaml).
export const kCurrency = 'USD';

const kSteps: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];

// A date has no time zone: it is that day everywhere.
function localDay(day: string): Date {
  const [year = 0, month = 1, date = 1] = day.slice(0, 10).split('-').map(Number);
  return new Date(year, month - 1, date);
}

export function makeFormats(locale: string): Formats {
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 4 });
  const money = new Intl.NumberFormat(locale, { style: 'currency', currency: kCurrency });
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
  const time = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
  const moment = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
  const parts = number.formatToParts(12345.6);
  return {
    locale,
    number: (value) => number.format(value),
    money: (value) => money.format(value),
    date: (day) => date.format(localDay(day)),
    time: (instant) => {
      const at = new Date(instant);
      return (Date.now() - at.getTime() > 20 * 3_600_000 ? moment : time).format(at);
    },
    moment: (instant) => moment.format(new Date(instant)),
    ago: (instant) => {
      const ms = new Date(instant).getTime() - Date.now();
      if (Math.abs(ms) > 7 * 86_400_000) return date.format(new Date(instant));
      for (const [unit, size] of kSteps) {
        if (Math.abs(ms) >= size) return relative.format(Math.round(ms / size), unit);
      }
      return relative.format(0, 'second');
    },
    decimal: parts.find((p) => p.type === 'decimal')?.value ?? '.',
    thousands: parts.find((p) => p.type === 'group')?.value ?? ',',
  };
}
