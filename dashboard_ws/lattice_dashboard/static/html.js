// Preact and htm under one name. Text of the server becomes text nodes, never markup.

import { Component, Fragment, h, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { Component, Fragment, h, render };
export { useCallback, useEffect, useMemo, useRef, useState } from "./vendor/preact-hooks.js";

export const html = htm.bind(h);

/** A component that is drawn again only when one of its properties is another object, and whose
 * failure leaves the rest of the page as it is. */
export function still(View) {
  return class Still extends Component {
    componentDidCatch(error) {
      console.error(error);
      this.setState({ error });
    }

    shouldComponentUpdate(next, { error }) {
      if (error !== this.state.error) return true;
      const names = new Set([...Object.keys(next), ...Object.keys(this.props)]);
      return [...names].some((name) => next[name] !== this.props[name]);
    }

    render(props, { error }) {
      if (error) return h("p", { class: "broken", role: "alert" }, "This part cannot be drawn.");
      return h(View, props);
    }
  };
}

/** Return a function of one argument that remembers its last answer. */
export function once(compute) {
  let last;
  let answer;
  let asked = false;
  return (argument) => {
    if (!asked || argument !== last) {
      answer = compute(argument);
      last = argument;
      asked = true;
    }
    return answer;
  };
}
