import type { ReactNode } from 'react';
import { Link } from 'react-router-dom';
import type { Saved } from '../../api/fates';
import { Skeleton } from '@mantine/core';
import { Icon } from '../../components/icon';
import { Tile } from '../../components/tile';
import { FateMark } from '../sync/fate_mark';
import styles from './record_head.module.css';

interface Props {
  back: { to: string; label: string };
  title: string | null; // null: not here yet
  facts: readonly string[];
  saved: Saved | undefined;
  round?: boolean;
  children?: ReactNode;
}

export function RecordHead({ back, title, facts, saved, round = false, children }: Props) {
  return (
    <div className={styles['head']}>
      <Link to={back.to} className={styles['back'] ?? ''}>
        <Icon name="back" size={16} /> {back.label}
      </Link>
      <div className={styles['row']}>
        {title === null ? <Skeleton h={56} w={56} radius={16} /> : <Tile name={title} size={56} round={round} />}
        <div className={styles['title']}>
          <h1>{title ?? <Skeleton component="span" display="block" h={24} w={220} />}</h1>
          <p className="quiet">
            <span>{facts.join(' · ')}</span> <FateMark saved={saved} />
          </p>
        </div>
        <div className={styles['actions']}>{children}</div>
      </div>
    </div>
  );
}
