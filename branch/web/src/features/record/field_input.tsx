import { NumberInput, Select, TagsInput, Textarea, TextInput } from '@mantine/core';
import type { FieldValue } from '../../api/odata';
import { fieldLabel, useTexts } from '../../i18n';
import { kCurrency } from '../../i18n/formats';
import type { FieldSpec } from './field_spec';

interface Props {
  entity: string;
  spec: FieldSpec;
  value: FieldValue;
  onChange: (value: FieldValue) => void;
  error?: string | null;
  focus?: boolean;
}

const kInputTypes = { phone: 'tel', email: 'email', url: 'url', date: 'date' } as const;

export function FieldInput({ entity, spec, value, onChange, error = null, focus = false }: Props) {
  const { t, format } = useTexts();
  const common = {
    label: fieldLabel(t, entity, spec.name),
    name: spec.name,
    error,
    // Where the person clicked: the form opens there. Dialogs look for the attribute.
    autoFocus: focus,
    ...(focus ? { 'data-autofocus': true } : {}),
    ...(spec.required ? { required: true } : {}),
  };
  const text = value === null ? '' : String(value);
  switch (spec.kind) {
    case 'multiline':
      return <Textarea {...common} autosize minRows={3} maxRows={12} value={text} onChange={(e) => onChange(e.currentTarget.value)} />;
    case 'money':
    case 'integer':
      return (
        <NumberInput
          {...common}
          value={value === null ? '' : Number(value)}
          onChange={(next) => onChange(next === '' ? null : Number(next))}
          thousandSeparator={format.thousands}
          decimalSeparator={format.decimal}
          decimalScale={spec.kind === 'money' ? 2 : 0}
          {...(spec.kind === 'money' ? { rightSection: <small className="faint">{kCurrency}</small>, rightSectionWidth: 48 } : {})}
          hideControls
        />
      );
    case 'option':
      return (
        <Select
          {...common}
          data={Object.entries(t.options[`${entity}.${spec.name}`] ?? {}).map(([key, label]) => ({ value: key, label }))}
          value={value === null ? null : text}
          onChange={(next) => onChange(next === null ? null : Number(next))}
          clearable
        />
      );
    case 'tags':
      return <TagsInput {...common} value={Array.isArray(value) ? value : []} onChange={onChange} />;
    default: {
      const type = spec.kind === 'text' ? 'text' : kInputTypes[spec.kind];
      return <TextInput {...common} type={type} value={text} onChange={(e) => onChange(e.currentTarget.value)} />;
    }
  }
}
