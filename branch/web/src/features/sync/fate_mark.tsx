import { Tooltip } from '@mantine/core';
import { useSyncExternalStore } from 'react';
import { asAsked, fates, type Saved } from '../../api/fates';
import { Icon } from '../../components/icon';
import { useTexts } from '../../i18n';
import styles from './fate_mark.module.css';

export function useSaved(set: string, record: string): Saved[] {
  const all = useSyncExternalStore(fates.subscribe, fates.all);
  return all.filter((saved) => saved.set === set && saved.record === record);
}

// The last thing saved here that touched this field.
export function lastSaved(saved: readonly Saved[], field: string): Saved | undefined {
  return saved.findLast((s) => s.fields.includes(field));
}

// That the record was created here.
export function lastCreated(saved: readonly Saved[]): Saved | undefined {
  return saved.findLast((s) => s.fields.length === 0);
}

export function FateMark({ saved, short = false }: { saved: Saved | undefined; short?: boolean }) {
  const { t } = useTexts();
  if (saved === undefined) return null;
  const reason = saved.reasons.join(' ');
  const state = t.fate[saved.state];
  const text = asAsked(saved.state) || reason === '' ? state : t.fate.because(state, reason);
  const mood = saved.state === 'pending' ? 'busy' : asAsked(saved.state) ? 'good' : 'bad';
  const icon = mood === 'busy' ? 'clock' : mood === 'good' ? 'check' : 'warning';
  return (
    <Tooltip label={text} disabled={!short} multiline maw={320}>
      <span className={styles['mark']} data-mood={mood} role="status" aria-label={text}>
        <Icon name={icon} size={14} />
        {!short && <span>{text}</span>}
      </span>
    </Tooltip>
  );
}
