// Values of fields: read from a record, compared, and shown.
import type { FieldValue, Stored } from '../../api/odata';
import { optionLabel } from '../../i18n';
import type { Messages } from '../../i18n/en';
import type { Formats } from '../../i18n/formats';
import type { FieldSpec } from './field_spec';

export type Draft = Readonly<Record<string, FieldValue>>;

export function valueOf(record: Stored, field: string): FieldValue {
  const value = record[field];
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.filter((v): v is string => typeof v === 'string');
  return null;
}

// An empty text and no value are the same to a person who fills in a form.
function normal(value: FieldValue): FieldValue {
  if (typeof value === 'string') return value.trim() === '' ? null : value.trim();
  if (Array.isArray(value)) return value.length === 0 ? null : value;
  return value;
}

export function isEmpty(value: FieldValue): boolean {
  return normal(value) === null;
}

export function same(a: FieldValue, b: FieldValue): boolean {
  const left = normal(a);
  const right = normal(b);
  if (Array.isArray(left) && Array.isArray(right)) return [...left].sort().join('\n') === [...right].sort().join('\n');
  return left === right;
}

// Of what was entered only that which differs from the record: an untouched field is nobody's edit.
export function changesOf(record: Stored | null, draft: Draft): Draft {
  const changes: Record<string, FieldValue> = {};
  for (const [field, value] of Object.entries(draft)) {
    const before = record === null ? null : valueOf(record, field);
    if (same(before, value)) continue;
    changes[field] = Array.isArray(value) ? value : normal(value);
  }
  return changes;
}

export function showValue(t: Messages, format: Formats, entity: string, spec: FieldSpec, value: FieldValue): string {
  if (isEmpty(value)) return '';
  switch (spec.kind) {
    case 'money':
      return format.money(Number(value));
    case 'integer':
      return format.number(Number(value));
    case 'option':
      return optionLabel(t, entity, spec.name, Number(value));
    case 'date':
      return format.date(String(value));
    case 'tags':
      return Array.isArray(value) ? value.join(', ') : '';
    default:
      return String(value);
  }
}
