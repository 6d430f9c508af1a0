import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { NavLink, Outlet, useLocation } from 'react-router-dom';
import { keepLive } from '../../api/live';
import { ErrorBoundary } from '../../components/error_boundary';
import { Mark } from '../../components/icon';
import { useTexts } from '../../i18n';
import { AttentionList } from '../sync/attention_list';
import { SyncState } from '../sync/sync_state';
import styles from './frame.module.css';
import { UserMenu } from './user_menu';

// What stays around every screen of somebody who is signed in.
export function Frame() {
  const { t } = useTexts();
  const client = useQueryClient();
  const { pathname } = useLocation();
  const [live, setLive] = useState(false);
  useEffect(() => keepLive(client, setLive), [client]);
  return (
    <>
      <a className="skip" href="#content">
        {t.app.skip}
      </a>
      <header className={styles['header']}>
        <div className={styles['bar']}>
          <NavLink to="/accounts" className={styles['brand'] ?? ''} aria-label={t.app.name}>
            <Mark />
            <span>{t.app.name}</span>
          </NavLink>
          <nav className={styles['nav']}>
            <NavLink to="/accounts">{t.app.accounts}</NavLink>
          </nav>
          <SyncState live={live} />
          <UserMenu />
        </div>
      </header>
      <main id="content" className={styles['main']} tabIndex={-1}>
        <AttentionList />
        <ErrorBoundary key={pathname}>
          <Outlet />
        </ErrorBoundary>
      </main>
    </>
  );
}
