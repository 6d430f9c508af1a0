import type { ReactNode } from 'react';
import type { Saved } from '../../api/fates';
import type { FieldValue } from '../../api/odata';
import { Icon } from '../../components/icon';
import { fieldLabel, useTexts } from '../../i18n';
import { FateMark } from '../sync/fate_mark';
import type { FieldSpec } from './field_spec';
import styles from './record_card.module.css';
import { showValue } from './values';

interface Props {
  entity: string;
  spec: FieldSpec;
  value: FieldValue;
  saved: Saved | undefined;
  onEdit: (() => void) | null;
}

// Only addresses of the web: a record must not bring a script along.
function webAddress(text: string): string | null {
  const full = /^[a-z][a-z0-9+.-]*:/i.test(text) ? text : `https://${text}`;
  return /^https?:\/\//i.test(full) ? full : null;
}

function shown(spec: FieldSpec, text: string, value: FieldValue): ReactNode {
  if (spec.kind === 'phone') return <a href={`tel:${text.replace(/[^+\d]/g, '')}`}>{text}</a>;
  if (spec.kind === 'email') return <a href={`mailto:${text}`}>{text}</a>;
  if (spec.kind === 'url') {
    const address = webAddress(text);
    return address === null ? text : <a href={address} target="_blank" rel="noreferrer">{text}</a>;
  }
  if (spec.kind === 'tags' && Array.isArray(value)) {
    return value.map((tag) => (
      <span key={tag} className={styles['tag']}>
        {tag}
      </span>
    ));
  }
  return text;
}

export function FieldView({ entity, spec, value, saved, onEdit }: Props) {
  const { t, format } = useTexts();
  const label = fieldLabel(t, entity, spec.name);
  const text = showValue(t, format, entity, spec, value);
  return (
    <div className={styles['field']} data-wide={spec.wide} data-field={spec.name}>
      <dt>
        {label} <FateMark saved={saved} />
      </dt>
      <dd
        data-editable={onEdit !== null || undefined}
        onClick={(event) => {
          if (onEdit === null || (event.target instanceof Element && event.target.closest('a, button') !== null)) return;
          if (getSelection()?.isCollapsed !== false) onEdit();
        }}
      >
        {text === '' ? <span className="faint">{t.record.empty}</span> : <span className={styles['value']}>{shown(spec, text, value)}</span>}
        {onEdit !== null && (
          <button type="button" className={styles['pen']} aria-label={t.record.editField(label)} onClick={onEdit}>
            <Icon name="pen" size={15} />
          </button>
        )}
      </dd>
    </div>
  );
}
