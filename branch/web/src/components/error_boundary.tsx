import { Component, type ReactNode } from 'react';
import { Problem } from './states';

interface Props {
  children: ReactNode;
}

// A mistake of the app's own in one screen leaves the frame standing, and says so instead of showing nothing.
export class ErrorBoundary extends Component<Props, { error: unknown }> {
  override state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return <Problem error={this.state.error} retry={() => location.reload()} />;
  }
}
