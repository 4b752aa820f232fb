// Who serves the page, where that can do more than show the run. `tbseg view` cannot.
export default null;
