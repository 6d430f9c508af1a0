import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useSyncExternalStore } from 'react';
import { BrowserRouter, Navigate, Route, Routes } from 'react-router-dom';
import { fates } from './api/fates';
import { ApiError } from './api/http';
import { session } from './api/session';
import { Frame } from './features/shell/frame';
import { AccountList } from './features/accounts/account_list';
import { AccountPage } from './features/accounts/account_page';
import { ContactPage } from './features/accounts/contact_page';
import { SignIn } from './features/sign_in/sign_in';
import { TextsProvider } from './i18n';
import { cssVariables, theme } from './theme';

// `always`: a browser that calls itself offline may well reach the server of its own office.
const client = new QueryClient({
  defaultOptions: {
    queries: {
      networkMode: 'always',
      staleTime: 15_000,
      retry: (count, error) => count < 2 && error instanceof ApiError && error.passing,
      retryDelay: (count) => 400 * 2 ** count,
    },
    mutations: { networkMode: 'always' },
  },
});

export function App() {
  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <TextsProvider>
        <QueryClientProvider client={client}>
          <BrowserRouter>
            <Gate />
          </BrowserRouter>
        </QueryClientProvider>
      </TextsProvider>
    </MantineProvider>
  );
}

function Gate() {
  const { token } = useSyncExternalStore(session.subscribe, session.current);
  // Nothing of one person's stays for the next.
  useEffect(() => {
    if (token !== null) return;
    client.clear();
    fates.clear();
  }, [token]);
  if (token === null) return <SignIn />;
  return (
    <Routes>
      <Route element={<Frame />}>
        <Route path="/accounts" element={<AccountList />} />
        <Route path="/accounts/:id" element={<AccountPage />} />
        <Route path="/contacts/:id" element={<ContactPage />} />
        <Route path="*" element={<Navigate to="/accounts" replace />} />
      </Route>
    </Routes>
  );
}
