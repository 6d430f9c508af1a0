// What is shown instead of data: nothing there, or it could not be had.
import { Button } from '@mantine/core';
import type { ReactNode } from 'react';
import { ApiError } from '../api/http';
import { useTexts } from '../i18n';
import type { Messages } from '../i18n/en';
import { Icon, type IconName } from './icon';
import styles from './states.module.css';

export function errorText(t: Messages, error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 0) return t.problem.network;
  if (error.status === 403) return t.problem.denied;
  if (error.status === 507) return t.problem.diskFull;
  return error.message;
}

interface EmptyProps {
  icon: IconName;
  title: string;
  help: string;
  children?: ReactNode;
}

export function Empty({ icon, title, help, children }: EmptyProps) {
  return (
    <div className={styles['state']}>
      <span className={styles['disc']}>
        <Icon name={icon} size={22} />
      </span>
      <strong>{title}</strong>
      <p>{help}</p>
      {children}
    </div>
  );
}

export function Problem({ error, retry }: { error: unknown; retry: () => void }) {
  const { t } = useTexts();
  return (
    <div className={styles['state']} role="alert">
      <span className={styles['disc']} data-bad>
        <Icon name="warning" size={22} />
      </span>
      <strong>{t.problem.title}</strong>
      <p>{errorText(t, error)}</p>
      <Button variant="default" onClick={retry}>
        {t.problem.retry}
      </Button>
    </div>
  );
}
