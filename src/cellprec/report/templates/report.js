"use strict";
// the static figures stand in the page already; these are the same data to explore
document.querySelectorAll(".plotly-plot").forEach(function (place) {
  var figure = JSON.parse(document.getElementById(place.dataset.plot).textContent);
  Plotly.newPlot(place, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    // patient data stay in this file: plotly's own set of buttons has one that uploads the plot
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]
  });
});
